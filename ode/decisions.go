package ode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
)

// Form is what a step of [USF] expands in powers of λ.
type Form int

// The forms.
const (
	FormData  Form = iota // the data prediction, as [DPMpp]
	FormNoise             // the noise prediction, as [DPM]
	FormV3                // f of the statistics, as [DPMv3]
)

// Relaxation scales the first derivative of a step by a factor that tends to 1 with its length h. With z = h for
// FormNoise and z = −h for FormData, the factors are as follows; FormV3 has the first and the last.
type Relaxation int

// The relaxations.
const (
	RelaxNot       Relaxation = iota // 1
	RelaxMidpoint                    // ½ z (e^z − 1)/(e^z − 1 − z), Midpoint of DPM-Solver and B2 of UniPC
	RelaxB1                          // ½ z²/(e^z − 1 − z), B1 of UniPC
	RelaxHalf                        // 1 + ½ (e^z − 1)
	RelaxMinusHalf                   // 1 − ½ (e^z − 1)
	RelaxLinear                      // 1 + Coefficient·h
)

// Correcting says what happens to a state once the network has been asked there.
type Correcting int

// The correctors.
const (
	Uncorrected       Correcting = iota
	PseudoCorrected              // the step is taken again with the new prediction, which stays the prediction there: UniPC
	ImplicitCorrected            // and then the network is asked again: one evaluation more
)

// AFS is an analytical first step: what stands for the first evaluation, where the state is nearly noise.
type AFS int

// The variants.
const (
	NoAFS        AFS = iota
	ZeroAFS          // x̂_0 = 0
	MeanAFS          // x̂_0 = Mean
	PublishedAFS     // ZeroAFS of the release: ε̂ = x/σ for FormNoise, and ε̂ = x, which is right at σ = 1 alone, for the others
)

var (
	formNames       = []string{"data", "noise", "v3"}
	relaxationNames = []string{"none", "dpmsolver-2", "unipc-bh1", "0.5exp", "-0.5exp", "linear"}
	correctingNames = []string{"none", "pseudo", "implicit"}
	afsNames        = []string{"none", "zero", "mean", "published"}
)

func marshalName[E ~int](e E, what string, names []string) ([]byte, error) {
	if e < 0 || int(e) >= len(names) {
		return nil, fmt.Errorf("%d is no %s; there are %s", int(e), what, strings.Join(names, ", "))
	}
	return []byte(names[e]), nil
}

func unmarshalName[E ~int](e *E, text []byte, what string, names []string) error {
	i := slices.Index(names, string(text))
	if i < 0 {
		return fmt.Errorf("%q is no %s; there are %s", text, what, strings.Join(names, ", "))
	}
	*e = E(i)
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (f Form) MarshalText() ([]byte, error) { return marshalName(f, "form", formNames) }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (f *Form) UnmarshalText(text []byte) error { return unmarshalName(f, text, "form", formNames) }

// MarshalText implements [encoding.TextMarshaler].
func (r Relaxation) MarshalText() ([]byte, error) {
	return marshalName(r, "relaxation", relaxationNames)
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Relaxation) UnmarshalText(text []byte) error {
	return unmarshalName(r, text, "relaxation", relaxationNames)
}

// MarshalText implements [encoding.TextMarshaler].
func (c Correcting) MarshalText() ([]byte, error) {
	return marshalName(c, "corrector", correctingNames)
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *Correcting) UnmarshalText(text []byte) error {
	return unmarshalName(c, text, "corrector", correctingNames)
}

// MarshalText implements [encoding.TextMarshaler].
func (a AFS) MarshalText() ([]byte, error) { return marshalName(a, "analytical first step", afsNames) }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *AFS) UnmarshalText(text []byte) error {
	return unmarshalName(a, text, "analytical first step", afsNames)
}

// A Derivative is how the k-th derivative in λ is estimated: from the polynomial through the predictions at the start of
// the step and at k or more other points. Points count evaluations back: 0 is the newest, 1 the one before.
type Derivative struct {
	Points      []int      `json:"points"`
	Relaxation  Relaxation `json:"relaxation,omitempty"`  // of the first derivative alone
	Coefficient float64    `json:"coefficient,omitempty"` // of RelaxLinear
}

// An Update is a Taylor expansion: of order 1 without derivatives, else of one more than there are.
type Update struct {
	Start       int          `json:"start,omitempty"` // where the step starts from, counted as Points; 0 is multistep
	Derivatives []Derivative `json:"derivatives,omitempty"`
}

// A Decision is what is decided on one step. The corrector's update counts the new prediction as 0, so that it starts
// at 1 or before.
type Decision struct {
	Form Form `json:"form"`
	Update
	Correct   Correcting `json:"correct,omitempty"`
	Corrector *Update    `json:"corrector,omitempty"`
}

// Decisions are everything there is to decide on a run of [USF]. They are written and read as JSON; a name that is not
// there is an error.
type Decisions struct {
	Times []float64  `json:"times,omitempty"` // the knots, one more than steps; nil are those of the problem
	AFS   AFS        `json:"afs,omitempty"`
	Mean  []float64  `json:"mean,omitempty"` // of MeanAFS: an element of a sample each
	Steps []Decision `json:"steps"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (d *Decisions) UnmarshalJSON(data []byte) error {
	type plain Decisions
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var p plain
	if err := dec.Decode(&p); err != nil {
		return fmt.Errorf("ode: Decisions: %w", err)
	}
	*d = Decisions(p)
	return nil
}

// Check returns an error for the first decision that makes no sense, whatever the problem.
func (d Decisions) Check() error {
	if len(d.Steps) == 0 {
		return fmt.Errorf("there are no Steps; give a Decision for each, or make them with USFOf")
	}
	if d.Times != nil && len(d.Times) != len(d.Steps)+1 {
		return fmt.Errorf("there are %d Times for %d steps; give one more than steps", len(d.Times), len(d.Steps))
	}
	if _, err := d.AFS.MarshalText(); err != nil {
		return err
	}
	if (d.AFS == MeanAFS) != (len(d.Mean) > 0) {
		return fmt.Errorf("the Mean has %d elements, and AFS is %q; MeanAFS needs one for each element of a sample, and nothing else has one", len(d.Mean), afsNames[d.AFS])
	}
	for i, s := range d.Steps {
		if err := s.check(i, i+1 == len(d.Steps)); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (s Decision) check(i int, last bool) error {
	if _, err := s.Form.MarshalText(); err != nil {
		return err
	}
	if _, err := s.Correct.MarshalText(); err != nil {
		return err
	}
	if err := s.Update.check(s.Form, 0, i+1, 3); err != nil {
		return err
	}
	switch {
	case (s.Correct == Uncorrected) != (s.Corrector == nil):
		return fmt.Errorf("option Correct is %q, and Corrector is given: %t; give both or none", correctingNames[s.Correct], s.Corrector != nil)
	case s.Corrector == nil:
		return nil
	case last:
		return fmt.Errorf("the last step cannot be corrected: nothing is evaluated at its end")
	}
	if err := s.Corrector.check(s.Form, 1, i+2, 4); err != nil {
		return fmt.Errorf("corrector: %w", err)
	}
	return nil
}

// check refuses an update that starts after the first evaluation it may start from, or looks back past the first of all.
func (u Update) check(form Form, first, known, most int) error {
	if u.Start < first || u.Start >= known {
		return fmt.Errorf("option Start is %d; it must be from %d to %d, by the evaluations there are", u.Start, first, known-1)
	}
	if len(u.Derivatives) > most {
		return fmt.Errorf("%d Derivatives; at most %d are used", len(u.Derivatives), most)
	}
	for j, d := range u.Derivatives {
		k := j + 1
		if _, err := d.Relaxation.MarshalText(); err != nil {
			return err
		}
		switch {
		case len(d.Points) < k:
			return fmt.Errorf("derivative %d has %d Points; it needs at least %d", k, len(d.Points), k)
		case d.Relaxation != RelaxNot && k > 1:
			return fmt.Errorf("derivative %d has relaxation %q; only the first is relaxed", k, relaxationNames[d.Relaxation])
		case form == FormV3 && d.Relaxation != RelaxNot && d.Relaxation != RelaxLinear:
			return fmt.Errorf("form v3 has relaxation %q; none and linear are for it", relaxationNames[d.Relaxation])
		case d.Coefficient != 0 && d.Relaxation != RelaxLinear || math.IsNaN(d.Coefficient) || math.IsInf(d.Coefficient, 0):
			return fmt.Errorf("derivative %d has Coefficient %v; it must be finite, and is of the linear relaxation alone", k, d.Coefficient)
		}
		for n, p := range d.Points {
			if p < 0 || p >= known || p == u.Start || slices.Contains(d.Points[:n], p) {
				return fmt.Errorf("derivative %d has Points %v; they must differ from each other and from the start %d, and be from 0 to %d", k, d.Points, u.Start, known-1)
			}
		}
	}
	return nil
}

// linear walks over the coefficients of linear relaxations.
func (d Decisions) linear() iter.Seq[*float64] {
	return func(yield func(*float64) bool) {
		for i := range d.Steps {
			for _, u := range []*Update{&d.Steps[i].Update, d.Steps[i].Corrector} {
				if u != nil && len(u.Derivatives) > 0 && u.Derivatives[0].Relaxation == RelaxLinear && !yield(&u.Derivatives[0].Coefficient) {
					return
				}
			}
		}
	}
}

// clone shares nothing with d.
func (d Decisions) clone() Decisions {
	d.Times, d.Mean, d.Steps = slices.Clone(d.Times), slices.Clone(d.Mean), slices.Clone(d.Steps)
	for i := range d.Steps {
		s := &d.Steps[i]
		s.Update = s.Update.clone()
		if s.Corrector != nil {
			c := s.Corrector.clone()
			s.Corrector = &c
		}
	}
	return d
}

func (u Update) clone() Update {
	u.Derivatives = slices.Clone(u.Derivatives)
	for k := range u.Derivatives {
		u.Derivatives[k].Points = slices.Clone(u.Derivatives[k].Points)
	}
	return u
}
