module worker

go 1.24

require github.com/denclave/denclave/clients/go v0.2.0

replace github.com/denclave/denclave/clients/go => ../../../clients/go
