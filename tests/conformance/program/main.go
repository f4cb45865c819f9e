// The programs of the images that critest runs, in one: it does what its name says.
//
//	nginx, httpd  a web server on port 80 (or -port), as the kubelet's tests know them from outside
//	nnp           says its effective user ID; the file is setuid root
//	pause         waits to be told to end
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const master = "nginx: master process"

func main() {
	name := filepath.Base(os.Args[0])
	switch {
	case name == "nginx":
		again := append([]string{master + " nginx"}, os.Args[1:]...) // a title, as nginx gives itself
		log.Fatal(syscall.Exec("/proc/self/exe", again, os.Environ()))
	case strings.HasPrefix(os.Args[0], master):
		os.WriteFile("/proc/self/comm", []byte("nginx"), 0)
		serve("nginx", "/var/run/nginx.pid")
	case name == "httpd":
		serve("httpd", "/var/run/httpd.pid")
	case name == "nnp":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	case name == "pause":
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
		<-end
	default:
		log.Fatalf("%s is not known", name)
	}
}

func serve(name string, pidFile string) {
	port := flag.Int("port", 80, "to listen on")
	flag.Parse()
	if err := os.WriteFile(pidFile, []byte(fmt.Sprintln(os.Getpid())), 0o644); err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "<html><body><h1>%s works</h1></body></html>\n", name)
	})
	log.Printf("%s listens on port %d", name, *port)
	log.Fatal(http.ListenAndServe(fmt.Sprintf(":%d", *port), nil))
}
