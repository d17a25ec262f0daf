package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	requestSuffix = ".http"
	goldenSuffix  = ".golden.json"
)

// golden is one entry of the section postern.goldens; docs/goldens.md.
type golden struct {
	Name string `json:"name"`
	// HTTP is the request's file, byte for byte.
	HTTP   []byte          `json:"http"`
	Golden json.RawMessage `json:"golden"`
}

// readGoldens gathers the cases of a testdata folder, sorted by name.
func readGoldens(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	cases := []golden{}
	for _, e := range entries {
		name, isGolden := strings.CutSuffix(e.Name(), goldenSuffix)
		if request, ok := strings.CutSuffix(e.Name(), requestSuffix); ok {
			if _, err := os.Stat(filepath.Join(dir, request+goldenSuffix)); err != nil {
				return nil, fmt.Errorf("testdata/%s has no %s%s beside it", e.Name(), request, goldenSuffix)
			}
		}
		if !isGolden {
			continue
		}
		c, err := readGolden(dir, name)
		if err != nil {
			return nil, err
		}
		cases = append(cases, c)
	}
	slices.SortFunc(cases, func(a, b golden) int { return strings.Compare(a.Name, b.Name) })
	return encode(cases)
}

func readGolden(dir, name string) (golden, error) {
	request, err := os.ReadFile(filepath.Join(dir, name+requestSuffix)) //nolint:gosec // a file of the plugin's folder
	if err != nil {
		return golden{}, fmt.Errorf("testdata/%s%s has no request: %w", name, goldenSuffix, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name+goldenSuffix)) //nolint:gosec // a file of the plugin's folder
	if err != nil {
		return golden{}, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return golden{}, fmt.Errorf("testdata/%s%s: %w", name, goldenSuffix, err)
	}
	return golden{Name: name, HTTP: request, Golden: b.Bytes()}, nil
}

// encode writes v as compact JSON that leaves HTML alone.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
