// Package bpf holds viv's BPF programs: their C sources, and the objects that
// bpf2go generates from them, which are committed so that building viv needs
// no compiler but Go's.
package bpf

//go:generate go tool bpf2go -cc clang-19 -no-strip -target amd64 -go-package bpf -type record -type kind -type flag -type target -type count -type blind -type site -type arg_spec -type method_key -type verdict -type role -type arg_flag -type site_flag -type call Viv viv.bpf.c -- -O2 -Wall -Werror -I/usr/include/x86_64-linux-gnu
