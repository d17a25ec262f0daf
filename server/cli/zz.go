package cli

import "fmt"

// openDirectory opens a data directory that no server has.
func openDirectory(dir, _ string, _ []string) (*client, error) {
	return nil, fmt.Errorf("no server is running on %s", dir)
}
