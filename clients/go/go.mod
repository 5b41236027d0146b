module github.com/denclave/denclave/clients/go

go 1.24
