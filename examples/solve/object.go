package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// object reads a JSON object and refuses fields that are not known. A field that is null counts as absent.
func object(where string, raw json.RawMessage, known ...string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := value(where, raw, &fields); err != nil {
		return nil, err
	}
	for name, v := range fields {
		if !slices.Contains(known, name) {
			return nil, unknown(where+" has the field", name, known)
		}
		if isNull(v) {
			delete(fields, name)
		}
	}
	return fields, nil
}

// one reads a string that is one of the known.
func one(where string, raw json.RawMessage, known ...string) (string, error) {
	if raw == nil {
		return "", fmt.Errorf("%s is missing; it is one of %s", where, strings.Join(known, ", "))
	}
	var s string
	if err := value(where, raw, &s); err != nil {
		return "", err
	}
	if !slices.Contains(known, s) {
		return "", unknown(where+" is", s, known)
	}
	return s, nil
}

func unknown(what, got string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("%s %q; there are none", what, got)
	}
	return fmt.Errorf("%s %q, which is not known; known are %s", what, got, strings.Join(known, ", "))
}

// value reads a JSON value that is not null, nor has null in it: encoding/json would take that for 0.
func value(where string, raw json.RawMessage, dst any) error {
	if raw == nil {
		return fmt.Errorf("%s is missing", where)
	}
	nulls := isNull(raw)
	switch dst.(type) {
	case *map[string]json.RawMessage, *string:
	default:
		nulls = bytes.Contains(raw, []byte("null"))
	}
	if nulls {
		return fmt.Errorf("%s has null in it; %s is wanted", where, kindOf(dst))
	}
	err := json.Unmarshal(raw, dst)
	if wrong := new(json.UnmarshalTypeError); errors.As(err, &wrong) {
		article := "a"
		if strings.HasPrefix(wrong.Value, "array") || strings.HasPrefix(wrong.Value, "object") {
			article = "an"
		}
		return fmt.Errorf("%s has %s %s in the wrong place or out of range; %s is wanted", where, article, wrong.Value, kindOf(dst))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return bytes.Equal(bytes.TrimSpace(raw), []byte("null")) }

// kindOf says in words what JSON fits into dst, a pointer.
func kindOf(dst any) string {
	t, lists := reflect.TypeOf(dst).Elem(), 0
	for ; t.Kind() == reflect.Slice; lists++ {
		t = t.Elem()
	}
	kind := map[reflect.Kind]string{reflect.Float64: "number", reflect.Int: "whole number", reflect.Uint64: "whole number from 0",
		reflect.Bool: "truth value", reflect.String: "string", reflect.Map: "object"}[t.Kind()]
	switch {
	case lists > 0:
		return "a list of " + strings.Repeat("lists of ", lists-1) + kind + "s"
	case kind == "object":
		return "an object"
	}
	return "a " + kind
}
