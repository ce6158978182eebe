package adjoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/ode"
)

// wanted is Wrt sorted by kind.
type wanted struct {
	outputs []string // of the transposed plan: inputs and draws
	plan    []string // parameters of the plan
	field   []ode.Parameter
}

// sort finds out what each name of Wrt means.
func sort[T Float](p *Problem[T]) (wanted, error) {
	var w wanted
	params := p.Field.Parameters(p.Batch)
	for i, name := range p.Wrt {
		if slices.Contains(p.Wrt[:i], name) {
			return w, fmt.Errorf("adjoint: %q is listed twice in Wrt", name)
		}
		var meanings []string
		if _, ok := p.Plan.Input(name); ok {
			w.outputs = append(w.outputs, name)
			meanings = append(meanings, "an input of the plan")
		}
		if _, ok := p.Plan.Param(name); ok {
			w.plan = append(w.plan, name)
			meanings = append(meanings, "a parameter of the plan")
		}
		for _, q := range params {
			if q.Name == name {
				w.field = append(w.field, q)
				meanings = append(meanings, "a parameter of the field")
			}
		}
		if isNoise(name) && (len(meanings) == 0 || p.Plan.Draws() > 0) {
			draws, err := drawNames(name, p.Plan)
			if err != nil {
				return w, err
			}
			for _, d := range draws {
				if !slices.Contains(w.outputs, d) {
					w.outputs = append(w.outputs, d)
				}
			}
			meanings = append(meanings, "injected noise")
		}
		switch len(meanings) {
		case 0:
			return w, unknown(name, p, params)
		case 1:
		default:
			return w, fmt.Errorf("adjoint: %q is ambiguous: it names %s; rename the field's", name, strings.Join(meanings, " and "))
		}
	}
	return w, nil
}

func isNoise(name string) bool { return name == Noise || strings.HasPrefix(name, Noise+"[") }

func drawName(k int) string { return Noise + "[" + strconv.Itoa(k) + "]" }

// drawNames lists the draws that a name stands for.
func drawNames(name string, p *ode.Plan) ([]string, error) {
	if p.Draws() == 0 {
		return nil, fmt.Errorf("adjoint: %q: plan %q draws no noise", name, p.Name)
	}
	all := make([]string, p.Draws())
	for k := range all {
		all[k] = drawName(k)
	}
	if name == Noise {
		return all, nil
	}
	if !slices.Contains(all, name) {
		return nil, fmt.Errorf("adjoint: %q: plan %q draws %s to %s", name, p.Name, all[0], all[len(all)-1])
	}
	return []string{name}, nil
}

// drawIndex is the number of a draw that drawNames has named.
func drawIndex(name string) int {
	k, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, Noise+"["), "]"))
	if err != nil {
		panic("adjoint: " + name + " is no draw")
	}
	return k
}

// knotPort is the input of a transposed plan for the cotangent of a knot's state.
func knotPort(i int) string { return "knot[" + strconv.Itoa(i) + "]" }

func unknown[T Float](name string, p *Problem[T], params []ode.Parameter) error {
	if name == "knots" {
		return fmt.Errorf("adjoint: plan %q has no gradient to its knots: the solver places or snaps them itself", p.Plan.Name)
	}
	var inputs, own, field []string
	for _, q := range p.Plan.Inputs {
		inputs = append(inputs, q.Name)
	}
	for _, q := range p.Plan.Params() {
		own = append(own, q.Name)
	}
	for _, q := range params {
		field = append(field, q.Name)
	}
	if len(field) > 12 {
		field = append(field[:12], "…"+strconv.Itoa(len(field)-12)+" more")
	}
	return fmt.Errorf("adjoint: nothing is called %q: plan %q has inputs %q and parameters %q, its field has parameters %q", name, p.Plan.Name, inputs, own, field)
}
