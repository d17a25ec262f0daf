module github.com/postern/postern/plugins

go 1.26.0

require (
	github.com/postern/postern/sdk v0.0.0
)

replace (
	github.com/postern/postern/sdk => ../sdk
	github.com/postern/postern/sdk/sdktest => ../sdk/sdktest
)
