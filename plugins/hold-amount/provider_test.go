package main

import (
	"testing"

	"github.com/postern/postern/sdk/sdktest"
)

func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }
