package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/ebb-go/ebb/ode"
)

// A field is an exported field of a struct of options, those of embedded structs among them.
type field struct {
	name  string // in kebab-case
	index []int
}

// Pair is for the second input of reversible solvers, which a problem here does not have; statistics are a field of the problem; and functions
// cannot be written in JSON.
func hidden(f reflect.StructField) bool {
	return !f.IsExported() || f.Name == "Pair" || f.Type == reflect.TypeFor[ode.Statistics]() || f.Type.Kind() == reflect.Func
}

func fieldsOf(t reflect.Type) (fields []field) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case hidden(f):
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			for _, inner := range fieldsOf(f.Type) {
				fields = append(fields, field{inner.name, append([]int{i}, inner.index...)})
			}
		case f.Type == reflect.TypeFor[ode.Grid]():
			fields = append(fields, field{"of", []int{i}})
		default:
			fields = append(fields, field{kebab(f.Name), []int{i}})
		}
	}
	return fields
}

func kebab(name string) string {
	var b strings.Builder
	rs := []rune(name)
	for i, r := range rs {
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// configured returns a copy of a struct of options, or of a list, with the given fields set. Fields named in others are left to the caller.
func configured(where string, options any, given map[string]json.RawMessage, others ...string) (reflect.Value, error) {
	v := reflect.New(reflect.TypeOf(options)).Elem()
	v.Set(reflect.ValueOf(options))
	known := map[string]reflect.Value{}
	var names []string
	for _, f := range fieldsOf(v.Type()) {
		known[f.name] = v.FieldByIndex(f.index)
		names = append(names, f.name)
	}
	if v.Kind() == reflect.Slice {
		names, known["levels"] = []string{"levels"}, v
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(others, name) || isNull(given[name]) {
			continue
		}
		dst, ok := known[name]
		if !ok {
			return v, unknown(where+" has the field", name, append(names, others...))
		}
		if err := set(dst, where+", "+name, given[name]); err != nil {
			return v, err
		}
	}
	return v, nil
}

// words are the values of enumerations, from 0.
func words(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[ode.Correction]():
		return []string{"midpoint", "taylor"}
	case reflect.TypeFor[ode.B]():
		return []string{"b2", "b1", "vary"}
	case reflect.TypeFor[ode.Start]():
		return []string{"ipndm", "spndm", "fpndm"}
	case reflect.TypeFor[ode.Coordinate]():
		return []string{"auto", "ratio", "time"}
	}
	return nil
}

// set reads JSON into a value of any type that options have.
func set(dst reflect.Value, where string, raw json.RawMessage) error {
	t := dst.Type()
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()), reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		if err := json.Unmarshal(raw, dst.Addr().Interface()); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		return nil
	case words(t) != nil:
		word, err := one(where, raw, words(t)...)
		dst.SetInt(int64(slices.Index(words(t), word)))
		return err
	case t == reflect.TypeFor[ode.Tableau]():
		b, err := parseTableau(where, raw)
		dst.Set(reflect.ValueOf(b))
		return err
	case t == reflect.TypeFor[ode.Grid]():
		o, err := object(where, inFull("grid", raw), append(slices.Clone(gridFields()), "grid")...)
		if err != nil {
			return err
		}
		g, err := parseGrid(o)
		if err == nil {
			dst.Set(reflect.ValueOf(g))
		}
		return err
	case t == reflect.TypeFor[ode.Solver]():
		s, err := parseNative(where, inFull("name", raw), nil)
		if err != nil {
			return err
		}
		if _, ok := s.(ode.Solver); !ok {
			return fmt.Errorf("%s is a controller itself; give a solver", where)
		}
		dst.Set(reflect.ValueOf(s))
		return nil
	case t.Kind() == reflect.Pointer:
		dst.Set(reflect.New(t.Elem()))
		return set(dst.Elem(), where, raw)
	case t.Kind() == reflect.Struct:
		var o map[string]json.RawMessage
		if err := value(where, raw, &o); err != nil {
			return err
		}
		v, err := configured(where, dst.Interface(), o)
		dst.Set(v)
		return err
	case t.Kind() == reflect.Slice && isStructured(t.Elem()):
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("%s: a list is wanted", where)
		}
		dst.Set(reflect.MakeSlice(t, len(list), len(list)))
		for i, item := range list {
			if err := set(dst.Index(i), fmt.Sprintf("%s[%d]", where, i), item); err != nil {
				return err
			}
		}
		return nil
	}
	return value(where, raw, dst.Addr().Interface())
}

// inFull is an object in place of which its name may be given, if the other fields have their defaults.
func inFull(field string, raw json.RawMessage) json.RawMessage {
	if len(raw) > 0 && raw[0] == '"' {
		return fmt.Appendf(nil, `{%q:%s}`, field, raw)
	}
	return raw
}

// isStructured says that encoding/json does not know how a type is written here.
func isStructured(t reflect.Type) bool {
	return words(t) != nil || t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface
}

func gridFields() (names []string) {
	for _, g := range grids() {
		for _, f := range fieldsOf(reflect.TypeOf(g.grid)) {
			names = append(names, f.name)
		}
	}
	return append(names, "levels")
}

func tableaus() map[string]ode.Tableau {
	return map[string]ode.Tableau{
		"euler": ode.Euler(), "heun": ode.Heun(), "midpoint": ode.MidpointRule(), "ralston": ode.Ralston(), "kutta": ode.Kutta(), "rk4": ode.RK4(),
		"ralston3": ode.Ralston3(), "heun3": ode.Heun3(), "van-der-houwen3": ode.VanDerHouwen3(), "ssprk3": ode.SSPRK3(),
		"bogacki-shampine": ode.BogackiShampine(), "dormand-prince": ode.DormandPrince(),
	}
}

// parseTableau reads a name, or a method of the user's own.
func parseTableau(where string, raw json.RawMessage) (b ode.Tableau, err error) {
	if raw[0] == '"' {
		known := tableaus()
		name, err := one(where, raw, slices.Sorted(maps.Keys(known))...)
		return known[name], err
	}
	o, err := object(where, raw, "name", "order", "a", "b", "c", "low")
	if err != nil {
		return b, err
	}
	b.Name = "custom"
	if name, ok := o["name"]; ok {
		if err := value(where+", name", name, &b.Name); err != nil {
			return b, err
		}
	}
	for _, f := range []struct {
		name string
		dst  any
	}{{"order", &b.Order}, {"a", &b.A}, {"b", &b.B}, {"c", &b.C}} {
		if err := value(where+", "+f.name, o[f.name], f.dst); err != nil {
			return b, err
		}
	}
	if low, ok := o["low"]; ok {
		if err := value(where+", low", low, &b.Low); err != nil {
			return b, err
		}
	}
	if len(b.B) == 0 {
		return b, fmt.Errorf("%s has no weights b", where)
	}
	return b, nil
}

// parseNative reads {"name": …} with the fields of that solver, and of the problem unless there is no place for them.
func parseNative(where string, raw json.RawMessage, also *shared) (any, error) {
	var o map[string]json.RawMessage
	if err := value(where, raw, &o); err != nil {
		return nil, err
	}
	all := natives()
	var names []string
	for _, n := range all {
		names = append(names, n.name)
	}
	name, err := one(where+".name", o["name"], names...)
	if err != nil {
		return nil, err
	}
	n := all[slices.Index(names, name)]
	where = "the solver " + name
	own, options := optionNames(n.solver), []string(nil)
	if also != nil {
		options = optionNames(shared{})
	}
	ownGiven, sharedGiven := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	for field, v := range o {
		switch {
		case field == "name":
		case slices.Contains(own, field):
			ownGiven[field] = v
		case slices.Contains(options, field):
			sharedGiven[field] = v
		default:
			return nil, unknown(where+" has the field", field, append(own, options...))
		}
	}
	v, err := configured(where, n.solver, ownGiven)
	if err != nil {
		return nil, err
	}
	if also != nil {
		s, err := configured(where, *also, sharedGiven)
		if err != nil {
			return nil, err
		}
		*also = s.Interface().(shared)
	}
	return v.Interface(), nil
}
