// The guest of the benchmark: Go's own toolchain at the work that costs it most.
package main

import (
	"encoding/json"
	"sort"
	"strings"
)

func main() {}

const text = `{"id":"abc-123-def","amount":12.50,"tags":["one","two","three"],"meta":{"a":"b","c":"d","e":"f"}}`

type payment struct {
	ID     string            `json:"id"`
	Amount float64           `json:"amount"`
	Tags   []string          `json:"tags"`
	Meta   map[string]string `json:"meta"`
}

//go:wasmexport work
func work(n int32) int64 {
	total := 0
	for range n {
		var p payment
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			panic(err)
		}
		sort.Strings(p.Tags)
		out, err := json.Marshal(p)
		if err != nil {
			panic(err)
		}
		total += len(strings.ToUpper(string(out)))
	}
	return int64(total)
}
