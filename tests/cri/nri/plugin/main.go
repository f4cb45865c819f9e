// A plugin for tests: it logs what it hears as JSON lines and does what its configuration says.
//
// The configuration is JSON, from the runtime (installed plugins) or the file that the flag names:
//
//	{"log": "/path", "events": "all", "only": "container's name",
//	 "adjust": {...ContainerAdjustment}, "updates": {"EVENT": [...ContainerUpdate]},
//	 "fail": "EVENT", "hang": "EVENT", "reject": "reason", "unsolicited": {"EVENT": [...]},
//	 "fail_request": bool, "keep_connected": bool}
//
// In updates a container_id of "@name" is that of the container of this name, as far as it was heard of.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

type config struct {
	Log           string                            `json:"log"`
	Events        string                            `json:"events"`
	Only          string                            `json:"only"`
	Adjust        *api.ContainerAdjustment          `json:"adjust"`
	Updates       map[string][]*api.ContainerUpdate `json:"updates"`
	Unsolicited   map[string][]*api.ContainerUpdate `json:"unsolicited"`
	Fail          string                            `json:"fail"`
	Hang          string                            `json:"hang"`
	Reject        string                            `json:"reject"`
	FailRequest   bool                              `json:"fail_request"`
	KeepConnected bool                              `json:"keep_connected"`
}

type plugin struct {
	sync.Mutex
	config
	stub  stub.Stub
	log   *os.File
	names map[string]string
}

func main() {
	name := flag.String("name", "", "its name")
	index := flag.String("idx", "", "its index")
	socket := flag.String("socket", "", "the runtime's socket")
	file := flag.String("config", "", "its configuration")
	flag.Parse()

	p := &plugin{names: map[string]string{}}
	options := []stub.Option{}
	if *file != "" {
		text, err := os.ReadFile(*file)
		check(err)
		check(p.configured(string(text)))
		policy := &api.FailurePolicy{FailRequest: p.FailRequest, KeepConnected: p.KeepConnected}
		options = append(options, stub.WithPluginName(*name), stub.WithPluginIdx(*index),
			stub.WithSocketPath(*socket), stub.WithFailurePolicy(policy))
	}
	made, err := stub.New(p, options...)
	check(err)
	p.stub = made
	if err := made.Run(context.Background()); err != nil {
		p.say("Ended", map[string]any{"error": err.Error()})
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (p *plugin) configured(text string) error {
	if err := json.Unmarshal([]byte(text), &p.config); err != nil {
		return err
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	p.log = log
	return err
}

func (p *plugin) say(event string, rest map[string]any) {
	p.Lock()
	defer p.Unlock()
	line := map[string]any{"event": event}
	for key, value := range rest {
		line[key] = value
	}
	text, err := json.Marshal(line)
	check(err)
	if p.log != nil {
		_, err = p.log.Write(append(text, '\n'))
		check(err)
	}
}

// heard logs an event and does what the configuration says about all events.
func (p *plugin) heard(event string, pod *api.PodSandbox, container *api.Container, rest ...any) error {
	line := map[string]any{"pod": pod}
	if container != nil {
		line["container"] = container
		p.Lock()
		p.names[container.Name] = container.Id
		p.Unlock()
	}
	if len(rest) > 0 {
		line["rest"] = rest
	}
	p.say(event, line)
	if p.Only != "" && (container == nil || container.Name != p.Only) {
		return nil
	}
	if p.Hang == event {
		time.Sleep(time.Hour)
	}
	if updates := p.Unsolicited[event]; updates != nil {
		go func() {
			failed, err := p.stub.UpdateContainers(p.resolved(updates))
			said := map[string]any{"failed": len(failed)}
			if err != nil {
				said["error"] = err.Error()
			}
			p.say("Updated", said)
		}()
	}
	if p.Fail == event {
		return errors.New("the test wants it to fail")
	}
	return nil
}

func (p *plugin) resolved(updates []*api.ContainerUpdate) []*api.ContainerUpdate {
	p.Lock()
	defer p.Unlock()
	made := []*api.ContainerUpdate{}
	for _, update := range updates {
		id := update.ContainerId
		if strings.HasPrefix(id, "@") {
			id = p.names[id[1:]]
		}
		if id != "" {
			made = append(made, &api.ContainerUpdate{ContainerId: id, Linux: update.Linux, IgnoreFailure: update.IgnoreFailure})
		}
	}
	return made
}

func (p *plugin) Configure(_ context.Context, text, runtime, version string) (api.EventMask, error) {
	if text != "" {
		if err := p.configured(text); err != nil {
			return 0, err
		}
	}
	p.say("Configure", map[string]any{"runtime": runtime, "version": version, "config": text,
		"env": []string{os.Getenv("NRI_PLUGIN_NAME"), os.Getenv("NRI_PLUGIN_IDX")}, "pid": os.Getpid()})
	events := p.Events
	if events == "" {
		events = "all"
	}
	mask, err := api.ParseEventMask(events)
	if p.Reject == "" {
		mask.Clear(api.Event_VALIDATE_CONTAINER_ADJUSTMENT)
	}
	return mask, err
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	names := []string{}
	for _, container := range containers {
		names = append(names, container.Name)
		p.names[container.Name] = container.Id
	}
	line := map[string]any{"pods": len(pods), "containers": names}
	if len(containers) < 10 {
		line["all"] = containers
	}
	p.say("Synchronize", line)
	return p.resolved(p.Updates["Synchronize"]), nil
}

func (p *plugin) Shutdown(context.Context) { p.say("Shutdown", nil) }

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.heard("RunPodSandbox", pod, nil)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, overhead, resources *api.LinuxResources) error {
	return p.heard("UpdatePodSandbox", pod, nil, overhead, resources)
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.heard("PostUpdatePodSandbox", pod, nil)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.heard("StopPodSandbox", pod, nil)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.heard("RemovePodSandbox", pod, nil)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	err := p.heard("CreateContainer", pod, container)
	if p.Only != "" && container.Name != p.Only {
		return nil, nil, err
	}
	return p.Adjust, p.resolved(p.Updates["CreateContainer"]), err
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.heard("PostCreateContainer", pod, container)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.heard("StartContainer", pod, container)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.heard("PostStartContainer", pod, container)
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container, resources *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	err := p.heard("UpdateContainer", pod, container, resources)
	return p.resolved(p.Updates["UpdateContainer"]), err
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.heard("PostUpdateContainer", pod, container)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	err := p.heard("StopContainer", pod, container)
	return p.resolved(p.Updates["StopContainer"]), err
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.heard("RemoveContainer", pod, container)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, request *api.ValidateContainerAdjustmentRequest) error {
	p.say("ValidateContainerAdjustment", map[string]any{"adjust": request.Adjust, "owners": request.Owners,
		"plugins": request.Plugins})
	if p.Reject != "-" {
		return errors.New(p.Reject)
	}
	return nil
}
