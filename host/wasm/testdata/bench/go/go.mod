module github.com/postern/postern/host/wasm/testdata/bench/go

go 1.26.0

require github.com/postern/postern/sdk v0.0.0

replace github.com/postern/postern/sdk => ../../../../../sdk
