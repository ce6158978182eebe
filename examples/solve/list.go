package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// list prints what -list prints.
func list(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, options any, meaning string, a about, indent string) {
		fmt.Fprintf(w, "%s%s\t\t%s\n", indent, name, meaning)
		for _, f := range optionNames(options) {
			byDefault, meaning := a.describe(f)
			if byDefault != "" {
				byDefault = "= " + byDefault
			}
			fmt.Fprintf(w, "%s    %s\t%s\t%s\n", indent, f, byDefault, meaning)
		}
	}
	for _, n := range natives() {
		row(n.name, n.solver, n.meaning, n.about, "")
	}
	row("every solver also takes, if it has a use for them:", shared{}, "", sharedAbout, "")
	fmt.Fprint(w, "\nstart, if not given, leaves x as it is; a chain that mixes levels of noise (LangevinGibbs of package ode) takes a function, and is for Go alone:\n\n")
	for _, n := range starts() {
		row(n.name, n.solver, n.meaning, n.about, "  ")
	}
	fmt.Fprint(w, "\nknots are a list, or {\"grid\": …, \"steps\": n, \"from\": t, \"to\": t, \"append-zero\": false} with one of these grids and its fields:\n\n")
	for _, g := range grids() {
		row(g.name, g.grid, g.meaning, g.about, "  ")
	}
	fmt.Fprintf(w, "  %s\t\tlevels of a discrete schedule, then 0; without from, to and append-zero\n", strings.Join(spacings, ", "))
	return w.Flush()
}

// optionNames are the fields that a struct of options, or a list, is given by.
func optionNames(options any) (names []string) {
	t := reflect.TypeOf(options)
	if t.Kind() == reflect.Slice {
		return []string{"levels"}
	}
	for _, f := range fieldsOf(t) {
		names = append(names, f.name)
	}
	return names
}
