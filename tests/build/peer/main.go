// What BuildKit's own parser and moby's pattern matcher make of texts: one JSON question a line, one answer
// a line. See tests/build/peer.py.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type question struct {
	Kind      string   `json:"kind"`
	Text      string   `json:"text"`
	Env       []string `json:"env"`
	Escape    string   `json:"escape"`
	Paths     []string `json:"paths"`
	Quoteless bool     `json:"quoteless"`
}

type document struct {
	Name   string `json:"name"`
	Data   string `json:"data"`
	Expand bool   `json:"expand"`
	Chomp  bool   `json:"chomp"`
}

type command struct {
	Name      string     `json:"name"`
	Words     []string   `json:"words"`
	Shell     bool       `json:"shell"`
	Documents []document `json:"documents"`
	First     int        `json:"first"`
	Last      int        `json:"last"`
}

type answer struct {
	Error    string    `json:"error"`
	Commands []command `json:"commands"`
	Words    []string  `json:"words"`
	Word     string    `json:"word"`
	Excluded []bool    `json:"excluded"`
}

func pairs(all instructions.KeyValuePairs) []string {
	found := []string{}
	for _, one := range all {
		found = append(found, one.Key, one.Value)
	}
	return found
}

func sources(kind string, found instructions.SourcesAndDest, flags ...string) command {
	one := command{Words: append(append(flags, found.SourcePaths...), found.DestPath)}
	for _, content := range found.SourceContents {
		one.Documents = append(one.Documents, document{content.Path, content.Data, content.Expand, false})
	}
	return one
}

func line(found instructions.ShellDependantCmdLine) command {
	one := command{Words: found.CmdLine, Shell: found.PrependShell}
	for _, file := range found.Files {
		one.Documents = append(one.Documents, document{file.Name, file.Data, false, file.Chomp})
	}
	return one
}

func described(found any) command {
	switch c := found.(type) {
	case *instructions.ArgCommand:
		one := command{}
		for _, pair := range c.Args {
			value := "(none)"
			if pair.Value != nil {
				value = *pair.Value
			}
			one.Words = append(one.Words, pair.Key, value)
		}
		return one
	case *instructions.EnvCommand:
		return command{Words: pairs(c.Env)}
	case *instructions.LabelCommand:
		return command{Words: pairs(c.Labels)}
	case *instructions.MaintainerCommand:
		return command{Words: []string{c.Maintainer}}
	case *instructions.AddCommand:
		flags := []string{c.Chown, c.Chmod, fmt.Sprint(c.Link), c.Checksum, strings.Join(c.ExcludePatterns, ",")}
		return sources("add", c.SourcesAndDest, flags...)
	case *instructions.CopyCommand:
		flags := []string{c.Chown, c.Chmod, fmt.Sprint(c.Link), c.From, fmt.Sprint(c.Parents), strings.Join(c.ExcludePatterns, ",")}
		return sources("copy", c.SourcesAndDest, flags...)
	case *instructions.OnbuildCommand:
		return command{Words: []string{c.Expression}}
	case *instructions.WorkdirCommand:
		return command{Words: []string{c.Path}}
	case *instructions.RunCommand:
		return line(c.ShellDependantCmdLine)
	case *instructions.CmdCommand:
		return line(c.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		return line(c.ShellDependantCmdLine)
	case *instructions.HealthCheckCommand:
		h := c.Health
		times := fmt.Sprintf("%d %d %d %d %d", h.Interval, h.Timeout, h.StartPeriod, h.StartInterval, h.Retries)
		return command{Words: append([]string{times}, h.Test...)}
	case *instructions.ExposeCommand:
		return command{Words: c.Ports}
	case *instructions.UserCommand:
		return command{Words: []string{c.User}}
	case *instructions.VolumeCommand:
		return command{Words: c.Volumes}
	case *instructions.StopSignalCommand:
		return command{Words: []string{c.Signal}}
	case *instructions.ShellCommand:
		return command{Words: c.Shell}
	}
	return command{Words: []string{fmt.Sprintf("%T", found)}}
}

func parsed(text string) answer {
	tree, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return answer{Error: err.Error()}
	}
	stages, arguments, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return answer{Error: err.Error()}
	}
	if len(stages) == 0 {
		return answer{Error: "no stage"}
	}
	found := answer{}
	add := func(one command, name string, where []parser.Range) {
		one.Name = strings.ToUpper(name)
		if len(where) > 0 {
			one.First, one.Last = where[0].Start.Line, where[len(where)-1].End.Line
		}
		found.Commands = append(found.Commands, one)
	}
	for i := range arguments {
		add(described(&arguments[i]), "ARG", arguments[i].Location())
	}
	for _, stage := range stages {
		add(command{Words: []string{stage.BaseName, stage.Name, stage.Platform}}, "FROM", stage.Location)
		for _, one := range stage.Commands {
			add(described(one), one.Name(), one.Location())
		}
	}
	return found
}

func expanded(asked question) answer {
	lexer := shell.NewLex(rune(asked.Escape[0]))
	lexer.SkipProcessQuotes = asked.Quoteless
	env := shell.EnvsFromSlice(asked.Env)
	word, _, err := lexer.ProcessWord(asked.Text, env)
	if err != nil {
		return answer{Error: err.Error()}
	}
	words, err := lexer.ProcessWords(asked.Text, env)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Word: word, Words: words}
}

func ignored(asked question) answer {
	patterns, err := ignorefile.ReadAll(bytes.NewReader([]byte(asked.Text)))
	if err != nil {
		return answer{Error: err.Error()}
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := answer{Words: patterns}
	for _, path := range asked.Paths {
		match, err := matcher.MatchesOrParentMatches(path)
		if err != nil {
			return answer{Error: err.Error()}
		}
		found.Excluded = append(found.Excluded, match)
	}
	return found
}

func main() {
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	decoder := json.NewDecoder(input)
	for decoder.More() {
		var asked question
		if err := decoder.Decode(&asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		var found answer
		switch asked.Kind {
		case "parse":
			found = parsed(asked.Text)
		case "expand":
			found = expanded(asked)
		case "ignore":
			found = ignored(asked)
		}
		if err := output.Encode(found); err != nil {
			os.Exit(1)
		}
	}
}
