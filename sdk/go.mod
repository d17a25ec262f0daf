module github.com/postern/postern/sdk

go 1.26.0
