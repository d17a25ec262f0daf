package postern

import "github.com/postern/postern/sdk/internal/abi"

//go:wasmexport postern_abi
func exportABI() int32 { return abi.Version }

//go:wasmexport postern_handle
func exportHandle() int32 { return abi.HandleExport() }

//go:wasmexport postern_sign
func exportSign() int32 { return abi.SignExport() }

//go:wasmexport postern_guard
func exportGuard() int32 { return abi.GuardExport() }
