package models

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/ode"
)

// How the parts of a configuration that are not plain numbers are written: a prediction by its name, a schedule by its
// name and its parameters, as in {"VPLinear": {"Beta0": 0.1, "Beta1": 20}}.
type (
	predictionJSON ode.Prediction
	scheduleJSON   struct{ ode.Schedule }
)

func (p predictionJSON) MarshalText() ([]byte, error) { return []byte(ode.Prediction(p).String()), nil }

func (p *predictionJSON) UnmarshalText(text []byte) error {
	var names []string
	for q := ode.Noise; q <= ode.Denoiser; q++ {
		if q.String() == string(text) {
			*p = predictionJSON(q)
			return nil
		}
		names = append(names, q.String())
	}
	return fmt.Errorf("no prediction %.40q; the predictions are %s", text, strings.Join(names, ", "))
}

// written makes an empty schedule of each kind that a file can name.
var written = map[string]func() ode.Schedule{
	"VPLinear": func() ode.Schedule { return &ode.VPLinear{} },
	"VPCosine": func() ode.Schedule { return &ode.VPCosine{} },
	"EDM":      func() ode.Schedule { return &ode.EDM{} },
	"Flow":     func() ode.Schedule { return &ode.Flow{} },
}

func writtenNames() string { return strings.Join(slices.Sorted(maps.Keys(written)), ", ") }

func (s scheduleJSON) MarshalJSON() ([]byte, error) {
	if s.Schedule == nil { // when strict asks for the names of the fields
		return []byte("null"), nil
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", s.Schedule), "ode.")
	if written[name] == nil {
		return nil, fmt.Errorf("a schedule %T cannot be written; %s can", s.Schedule, writtenNames())
	}
	return json.Marshal(map[string]ode.Schedule{name: s.Schedule})
}

func (s *scheduleJSON) UnmarshalJSON(text []byte) error {
	var named map[string]json.RawMessage
	if err := json.Unmarshal(text, &named); err != nil || len(named) != 1 {
		return fmt.Errorf(`a schedule is written {"name": {parameters}}, not %.100s`, text)
	}
	for name, parameters := range named {
		if written[name] == nil {
			return fmt.Errorf("no schedule %.40q; the schedules are %s", name, writtenNames())
		}
		empty := written[name]()
		if err := strict(parameters, empty); err != nil {
			return fmt.Errorf("schedule %s: %w", name, err)
		}
		switch p := empty.(type) {
		case *ode.VPLinear:
			s.Schedule = *p
		case *ode.VPCosine:
			s.Schedule = *p
		case *ode.EDM:
			s.Schedule = *p
		case *ode.Flow:
			s.Schedule = *p
		}
	}
	return nil
}

// strict decodes an object whose fields must be exactly those of v; if not, the error lists them all.
func strict(text []byte, v any) error {
	var have, want map[string]json.RawMessage
	if err := json.Unmarshal(text, &have); err != nil || have == nil {
		return fmt.Errorf("an object is needed, not %.100s", bytes.TrimSpace(text))
	}
	known, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(known, &want)
	}
	if err != nil {
		return err
	}
	var diff []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if v, ok := have[name]; !ok || string(v) == "null" { // which would leave a field as it is
			diff = append(diff, fmt.Sprintf("missing %s", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			diff = append(diff, fmt.Sprintf("unknown %.40q", name))
		}
	}
	if len(diff) > 0 {
		return fmt.Errorf("the fields do not fit: %s", strings.Join(diff, "; "))
	}
	return json.Unmarshal(text, v)
}
