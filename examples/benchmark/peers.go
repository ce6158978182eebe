package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A peer is a program in Python that measures a key when it reads one, and answers with a line of JSON: {"key": …, "value": …},
// where the value is null if it has no such key.
type peer struct {
	name   string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	values map[string]float64
}

var peerPrograms = []struct {
	name, module string
	args         []string
}{
	{"torch", "torch", []string{"torch.py"}},
	{"torch.compile", "torch", []string{"torch.py", "--compile"}},
	{"jax", "jax", []string{"jax.py"}},
}

// compare measures ebb and its peers in turns, one key after the other, so that what disturbs one disturbs all.
func (o options) compare(ctx context.Context, out, log io.Writer) error {
	var list []*peer
	defer func() {
		for _, p := range list {
			p.in.Close()
			p.cmd.Wait()
		}
	}()
	for _, program := range peerPrograms {
		// Without the folder of the scripts in its path: torch.py there is not the module.
		if err := exec.CommandContext(ctx, o.python, "-P", "-c", "import "+program.module).Run(); err != nil {
			fmt.Fprintf(log, "%s is left out: %s does not import %s (pip install -r %s)\n", program.name, o.python, program.module, filepath.Join(o.scripts, "requirements.txt"))
			continue
		}
		p, err := o.start(ctx, program.name, program.args, log)
		if err != nil {
			return err
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return errors.New("no peer to compare with")
	}
	ours := map[string]float64{}
	once := o
	once.repeat = 1
	for _, key := range o.only {
		for range o.repeat {
			v, err := measure(ctx, key, once)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			keep(ours, key, v)
			for _, p := range list {
				if err := p.measure(key); err != nil {
					return fmt.Errorf("%s: %s: %w", p.name, key, err)
				}
			}
		}
		fmt.Fprintf(log, "%s %s\n", key, human(key, ours[key]))
	}
	return markdown(out, o.only, ours, list)
}

func (o options) start(ctx context.Context, name string, args []string, log io.Writer) (*peer, error) {
	script := filepath.Join(o.scripts, args[0])
	if _, err := os.Stat(script); err != nil {
		return nil, fmt.Errorf("%w (the default of -scripts is found from the top folder of ebb)", err)
	}
	args = append([]string{"-P", script, "--serve", "--threads", fmt.Sprint(o.threads)}, args[1:]...)
	p := &peer{name: name, cmd: exec.CommandContext(ctx, o.python, args...), values: map[string]float64{}}
	p.cmd.Stderr = log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *peer) measure(key string) error {
	if _, err := fmt.Fprintln(p.in, key); err != nil {
		return err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	var answer struct {
		Key   string
		Value *float64
	}
	if err := json.Unmarshal(line, &answer); err != nil || answer.Key != key {
		return fmt.Errorf("answer %q (%v)", line, err)
	}
	if answer.Value != nil {
		keep(p.values, key, *answer.Value)
	}
	return nil
}

// keep keeps the better of two figures: the highest speed, the least of anything else.
func keep(values map[string]float64, key string, v float64) {
	old, ok := values[key]
	if !ok || (v < old) != strings.HasPrefix(key, "gemm") {
		values[key] = v
	}
}

// markdown prints what each took, and ebb's share of the best peer: of its time or bytes, or of its speed.
func markdown(out io.Writer, keys []string, ours map[string]float64, list []*peer) error {
	var b strings.Builder
	b.WriteString("| key | ebb |")
	for _, p := range list {
		fmt.Fprintf(&b, " %s |", p.name)
	}
	b.WriteString(" ebb ÷ best peer |\n|---|" + strings.Repeat("---|", len(list)+2) + "\n")
	for _, key := range keys {
		fmt.Fprintf(&b, "| %s | %s |", key, human(key, ours[key]))
		all := map[string]float64{} // the best peer's, under the key
		for _, p := range list {
			v, ok := p.values[key]
			if !ok {
				b.WriteString(" – |")
				continue
			}
			fmt.Fprintf(&b, " %s |", human(key, v))
			keep(all, key, v)
		}
		if best, ok := all[key]; ok {
			fmt.Fprintf(&b, " %.2f |\n", ours[key]/best)
		} else {
			b.WriteString(" – |\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}
