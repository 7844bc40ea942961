// Package cmethod finds the functions of Ruby's methods that are written in C,
// and where those functions are left, from the files of libraries and programs
// alone.
//
// Ruby and its extensions name such methods in code that runs when they are
// loaded: rb_define_method(rb_cFile, "size", rb_file_size, 0). That code is
// found by its calls of these functions, and run through without being run: of
// each register, each place of the stack and each variable it is known that it
// holds a certain number, class, or object, or nothing is known. What is known
// at a place is what is the same on all ways to it. A method whose class, name
// or function is not known there is left out; none is guessed.
//
// It reads code for x86-64.
package cmethod

// Method is a method that is written in C.
type Method struct {
	Class, Name string // "Process::UID", "eid=": of a class's own methods too, as Ruby's probes name them
	Func        uint64 // virtual address of its function in the file
}
