// Package bpf holds viv's BPF programs: their C sources, and the objects that
// bpf2go generates from them, which are committed so that building viv needs
// no compiler but Go's.
package bpf

//go:generate go test -run ^TestKinds$ -count=1 ../pkg/probe/wire -write
//go:generate go tool bpf2go -cc clang-19 -no-strip -target amd64 -go-package bpf -type head -type record -type function_record -type blind_record -type library_record -type tls_record -type control -type syscall -type form -type argument -type kind -type flag -type target -type count -type blind -type site -type arg_spec -type method_key -type verdict -type role -type arg_flag -type site_flag -type call Viv viv.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
