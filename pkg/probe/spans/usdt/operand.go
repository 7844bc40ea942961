package usdt

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind says where an argument lies.
type Kind uint8

// The places of an argument.
const (
	None  Kind = iota // not known
	Const             // it is Value
	Reg               // in a register
	Mem               // in memory at Value + register + index * Scale
)

// Arg is a probe's argument: where it lies when the probe fires.
type Arg struct {
	Kind   Kind
	Size   uint8 // bytes: 1, 2, 4, 8
	Signed bool
	Shift  uint8  // of a register, bits: 8 for %ah and the like
	Base   uint16 // the register's place in the kernel's struct pt_regs, bytes; NoReg: none
	Index  uint16 // the same for the index; NoReg: none
	Scale  uint8  // of the index: 1, 2, 4, 8
	Value  int64  // of a constant, or what is added to the registers, bytes
}

// NoReg stands for a register that an operand does not have.
const NoReg uint16 = 0xffff

// splitOperands splits at the blanks outside brackets: the assembler of arm64
// writes [sp, 16]. It returns the first MaxArgs.
func splitOperands(s string) []string {
	var all []string
	depth, start := 0, -1
	for i := 0; i <= len(s) && len(all) < MaxArgs; i++ {
		blank := i == len(s) || s[i] == ' ' && depth == 0
		switch {
		case blank && start >= 0:
			all = append(all, s[start:i])
			start = -1
		case !blank && start < 0:
			start = i
		}
		if i < len(s) {
			switch s[i] {
			case '[', '(':
				depth++
			case ']', ')':
				depth--
			}
		}
	}
	return all
}

// size reads the N@ in front of an operand: the size in bytes, negative for a
// signed value. Without one it is an unsigned word.
func size(s string) (a Arg, operand string, err error) {
	a = Arg{Size: 8, Base: NoReg, Index: NoReg}
	n, operand, ok := strings.Cut(s, "@")
	if !ok {
		return a, s, nil
	}
	n, a.Signed = strings.CutPrefix(n, "-")
	switch n {
	case "1", "2", "4", "8":
		a.Size = n[0] - '0'
	default:
		return a, "", fmt.Errorf("operand %q: no size of 1, 2, 4 or 8", s)
	}
	return a, operand, nil
}

// ParseX86 reads an operand as the assembler of x86-64 writes it: 4@$-9,
// 8@%rdi, -4@12(%rsp), 8@8(%rax,%rbx,4). What is relative to %rip or to a
// symbol is an error, and so are floating point registers.
func ParseX86(s string) (Arg, error) {
	a, op, err := size(s)
	if err != nil {
		return Arg{}, err
	}
	bad := func(why string) (Arg, error) { return Arg{}, fmt.Errorf("operand %q: %s", s, why) }
	if num, ok := strings.CutPrefix(op, "$"); ok {
		if a.Value, ok = number(num); !ok {
			return bad("no number")
		}
		a.Kind = Const
		return a, nil
	}
	if strings.HasPrefix(op, "%") {
		r, ok := x86Registers[op[1:]]
		if !ok {
			return bad("no general register")
		}
		a.Kind, a.Base, a.Shift = Reg, r.offset, r.shift
		a.Size = min(a.Size, r.size)
		return a, nil
	}
	disp, rest, ok := strings.Cut(op, "(")
	if !ok || !strings.HasSuffix(rest, ")") {
		return bad("neither constant, register nor memory")
	}
	if disp != "" {
		if a.Value, ok = number(disp); !ok {
			return bad("no number in front of the brackets")
		}
	}
	a.Kind = Mem
	parts := strings.Split(strings.TrimSuffix(rest, ")"), ",")
	if len(parts) > 3 {
		return bad("too many parts")
	}
	for i, part := range parts {
		part = strings.TrimSpace(part)
		if i == 2 {
			switch part {
			case "1", "2", "4", "8":
				a.Scale = part[0] - '0'
			default:
				return bad("no scale of 1, 2, 4 or 8")
			}
			continue
		}
		if part == "" && i == 0 && len(parts) > 1 {
			continue // an index alone
		}
		name, ok := strings.CutPrefix(part, "%")
		r, known := x86Registers[name]
		if !ok || !known || r.size != 8 {
			return bad("no 64-bit register")
		}
		if i == 0 {
			a.Base = r.offset
		} else {
			a.Index, a.Scale = r.offset, 1
		}
	}
	return a, nil
}

// ParseARM64 reads an operand as the assembler of arm64 writes it: -4@5, 8@x0,
// 4@w1, 4@wzr, 8@[sp], -4@[sp, 36], 8@[x0, x1], 8@[x0, x1, lsl 3]. An index in
// half a register, as [x0, w1, sxtw 3], is an error, and so is what is relative
// to a symbol or lies in a floating point register.
func ParseARM64(s string) (Arg, error) {
	a, op, err := size(s)
	if err != nil {
		return Arg{}, err
	}
	bad := func(why string) (Arg, error) { return Arg{}, fmt.Errorf("operand %q: %s", s, why) }
	if inner, ok := strings.CutPrefix(op, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); !ok {
			return bad("no closing bracket")
		}
		a.Kind = Mem
		base, index, two := strings.Cut(inner, ",")
		r, ok := armRegister(strings.TrimSpace(base))
		if !ok || r.size != 8 {
			return bad("no 64-bit register")
		}
		a.Base = r.offset
		if !two {
			return a, nil
		}
		index, shift, shifted := strings.Cut(index, ",")
		index = strings.TrimSpace(index)
		if r, ok := armRegister(index); ok && r.size == 8 && index != "sp" {
			a.Index, a.Scale = r.offset, 1
			if shifted {
				n, ok := strings.CutPrefix(strings.TrimSpace(shift), "lsl ")
				bits, isNumber := number(strings.TrimPrefix(n, "#"))
				if !ok || !isNumber || bits < 0 || bits > 3 {
					return bad("no shift by 0 to 3 bits")
				}
				a.Scale <<= bits
			}
			return a, nil
		}
		if shifted {
			return bad("no 64-bit register as index")
		}
		if a.Value, ok = number(strings.TrimPrefix(index, "#")); !ok {
			return bad("neither offset nor register behind the comma")
		}
		return a, nil
	}
	if r, ok := armRegister(op); ok {
		a.Kind, a.Base = Reg, r.offset
		a.Size = min(a.Size, r.size)
		return a, nil
	}
	if op == "xzr" || op == "wzr" {
		a.Kind = Const
		return a, nil
	}
	var ok bool
	if a.Value, ok = number(strings.TrimPrefix(op, "#")); !ok {
		return bad("neither constant, register nor memory")
	}
	a.Kind = Const
	return a, nil
}

// number reads a constant: decimal or 0x..., also one that only fits unsigned.
func number(s string) (int64, bool) {
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return n, true
	}
	u, err := strconv.ParseUint(s, 0, 64)
	return int64(u), err == nil
}

type register struct {
	offset uint16
	size   uint8
	shift  uint8
}

// x86Registers are the general registers under all their names, with their
// places in struct pt_regs (arch/x86/include/asm/ptrace.h).
var x86Registers = func() map[string]register {
	m := map[string]register{} // without rip, which is no value of a program's
	for i, n := range []string{"15", "14", "13", "12", "bp", "bx", "11", "10", "9", "8", "ax", "cx", "dx", "si", "di", "", "", "", "", "sp"} {
		at := uint16(8 * i)
		switch {
		case n == "":
		case n[0] >= '0' && n[0] <= '9':
			m["r"+n], m["r"+n+"d"], m["r"+n+"w"], m["r"+n+"b"] = register{at, 8, 0}, register{at, 4, 0}, register{at, 2, 0}, register{at, 1, 0}
		default:
			m["r"+n], m["e"+n], m[n] = register{at, 8, 0}, register{at, 4, 0}, register{at, 2, 0}
			if n[1] == 'x' {
				m[n[:1]+"l"], m[n[:1]+"h"] = register{at, 1, 0}, register{at, 1, 8}
			} else {
				m[n+"l"] = register{at, 1, 0}
			}
		}
	}
	return m
}()

// armRegister is x0 to x30, w0 to w30 or sp, with its place in struct pt_regs
// (arch/arm64/include/asm/ptrace.h).
func armRegister(name string) (register, bool) {
	if name == "sp" {
		return register{31 * 8, 8, 0}, true
	}
	if len(name) < 2 || name[0] != 'x' && name[0] != 'w' {
		return register{}, false
	}
	n, err := strconv.ParseUint(name[1:], 10, 8)
	if err != nil || n > 30 || len(name) > 2 && name[1] == '0' {
		return register{}, false
	}
	r := register{uint16(8 * n), 8, 0}
	if name[0] == 'w' {
		r.size = 4
	}
	return r, true
}
