// A client of the streaming server, made of the libraries that kubectl is made of.
//
//	goclient exec spdy|websocket [-tty] [-size COLUMNSxLINES] [-stdin] [-no-stdout] [-no-stderr] URL
//	goclient forward spdy|tunnel URL LOCAL:REMOTE...
//
// exec ends with the command's exit code; 250 and words on standard error for any other failure.
// forward prints "ready" once it listens, and ends with its standard input.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
)

func main() {
	if len(os.Args) < 4 {
		fail(errors.New("what?"))
	}
	kind, protocol, arguments := os.Args[1], os.Args[2], os.Args[3:]
	var err error
	if kind == "exec" {
		err = execute(protocol, arguments)
	} else {
		err = forward(protocol, arguments)
	}
	var exited utilexec.ExitError
	if errors.As(err, &exited) {
		os.Exit(exited.ExitStatus())
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(250)
}

func config() *rest.Config {
	return &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: os.Getenv("CA_FILE")}}
}

type once struct{ sizes chan remotecommand.TerminalSize }

func (o once) Next() *remotecommand.TerminalSize {
	size, ok := <-o.sizes
	if !ok {
		return nil
	}
	return &size
}

func execute(protocol string, arguments []string) error {
	flags := flag.NewFlagSet("exec", flag.ExitOnError)
	tty := flags.Bool("tty", false, "")
	stdin := flags.Bool("stdin", false, "")
	noStdout := flags.Bool("no-stdout", false, "")
	noStderr := flags.Bool("no-stderr", false, "")
	size := flags.String("size", "", "")
	_ = flags.Parse(arguments)
	where, err := url.Parse(flags.Arg(0))
	if err != nil {
		return err
	}
	var executor remotecommand.Executor
	if protocol == "spdy" {
		executor, err = remotecommand.NewSPDYExecutor(config(), "POST", where)
	} else {
		executor, err = remotecommand.NewWebSocketExecutor(config(), "GET", where.String())
	}
	if err != nil {
		return err
	}
	options := remotecommand.StreamOptions{Tty: *tty}
	if *stdin {
		options.Stdin = os.Stdin
	}
	if !*noStdout {
		options.Stdout = os.Stdout
	}
	if !*noStderr && !*tty {
		options.Stderr = os.Stderr
	}
	if *tty {
		queue := once{make(chan remotecommand.TerminalSize, 8)}
		for _, one := range strings.Split(*size, ",") {
			var columns, lines uint16
			if n, _ := fmt.Sscanf(one, "%dx%d", &columns, &lines); n == 2 {
				queue.sizes <- remotecommand.TerminalSize{Width: columns, Height: lines}
			}
		}
		options.TerminalSizeQueue = queue
	}
	return executor.StreamWithContext(context.Background(), options)
}

func forward(protocol string, arguments []string) error {
	where, err := url.Parse(arguments[0])
	if err != nil {
		return err
	}
	var dialer httpstream.Dialer
	if protocol == "spdy" {
		transport, upgrader, err := spdy.RoundTripperFor(config())
		if err != nil {
			return err
		}
		dialer = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", where)
	} else if dialer, err = portforward.NewSPDYOverWebsocketDialer(where, config()); err != nil {
		return err
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	forwarder, err := portforward.New(dialer, arguments[1:], stop, ready, io.Discard, os.Stderr)
	if err != nil {
		return err
	}
	go func() {
		<-ready
		ports, _ := forwarder.GetPorts()
		for _, port := range ports {
			fmt.Println("ready", port.Local)
		}
	}()
	return forwarder.ForwardPorts()
}
