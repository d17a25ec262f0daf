package config_test

import (
	"fmt"

	"github.com/postern/postern/config"
)

func ExampleLoad() {
	text := `
intake:
  lisen: :8080
  read_timeout: 5
store:
  engine: blot
`
	_, err := config.Load(config.Options{Text: []byte(text), Environ: []string{}})
	fmt.Println(err)
	// Output:
	// intake.lisen: unknown key (did you mean "listen"?)
	// intake.read_timeout: 5 has no unit (write 5s for seconds)
	// store.engine: "blot" is unknown (did you mean "bolt"?)
}
