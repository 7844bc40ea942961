package cmethod

// notImplemented is the function of methods that this system does not have.
const notImplemented = "rb_f_notimplement"

// A call is what a function of Ruby's does with classes and methods.
type call uint8

const (
	_               call = iota
	defineTop            // (name): a class or module
	defineUnder          // (outer, name)
	defineIDUnder        // (outer, id)
	singleton            // (class)
	intern               // (name): an id
	constant             // (outer, name, object)
	constantID           // (outer, id, object)
	globalConstant       // (name, object)
	path                 // (name): the class of this name
	getConstant          // (outer, id)
	method               // (class, name, function)
	methodID             // (class, id, function)
	singletonMethod      // (object, name, function)
	moduleFunction       // (module, name, function)
	globalFunction       // (name, function)
	alias                // (class, new name, old name)
)

// known are the functions of Ruby's that are looked at.
var known = map[string]call{
	"rb_define_class":            defineTop,
	"rb_define_module":           defineTop,
	"rb_define_class_under":      defineUnder,
	"rb_define_module_under":     defineUnder,
	"rb_struct_define_under":     defineUnder,
	"rb_define_class_id_under":   defineIDUnder,
	"rb_define_module_id_under":  defineIDUnder,
	"rb_singleton_class":         singleton,
	"rb_intern":                  intern,
	"rb_intern2":                 intern,
	"rb_define_const":            constant,
	"rb_const_set":               constantID,
	"rb_define_global_const":     globalConstant,
	"rb_path2class":              path,
	"rb_const_get":               getConstant,
	"rb_const_get_at":            getConstant,
	"rb_define_method":           method,
	"rb_define_private_method":   method,
	"rb_define_protected_method": method,
	"rb_define_method_id":        methodID,
	"rb_define_singleton_method": singletonMethod,
	"rb_define_module_function":  moduleFunction,
	"rb_define_global_function":  globalFunction,
	"rb_define_alias":            alias,
}

// defines reports whether a function that has such a call is worth a look.
func (c call) defines() bool {
	switch c {
	case 0, singleton, intern, path, getConstant, constant, constantID:
		return false
	}
	return true
}

// variables are those of Ruby's that hold a class, and its name: where a file
// does not say itself what it stores there.
var variables = map[string]string{
	"rb_cBasicObject": "BasicObject", "rb_cObject": "Object", "rb_cArray": "Array", "rb_cBinding": "Binding",
	"rb_cClass": "Class", "rb_cDir": "Dir", "rb_cEncoding": "Encoding", "rb_cEnumerator": "Enumerator",
	"rb_cFalseClass": "FalseClass", "rb_cFile": "File", "rb_cComplex": "Complex", "rb_cFloat": "Float",
	"rb_cHash": "Hash", "rb_cIO": "IO", "rb_cInteger": "Integer", "rb_cMatch": "MatchData", "rb_cMethod": "Method",
	"rb_cModule": "Module", "rb_cNilClass": "NilClass", "rb_cNumeric": "Numeric", "rb_cProc": "Proc",
	"rb_cRactor": "Ractor", "rb_cRandom": "Random", "rb_cRange": "Range", "rb_cRational": "Rational",
	"rb_cRefinement": "Refinement", "rb_cRegexp": "Regexp", "rb_cSet": "Set", "rb_cStat": "File::Stat",
	"rb_cString": "String", "rb_cStruct": "Struct", "rb_cSymbol": "Symbol", "rb_cThread": "Thread", "rb_cTime": "Time",
	"rb_cTrueClass": "TrueClass", "rb_cUnboundMethod": "UnboundMethod",
	"rb_mComparable": "Comparable", "rb_mEnumerable": "Enumerable", "rb_mErrno": "Errno", "rb_mFileTest": "FileTest",
	"rb_mGC": "GC", "rb_mKernel": "Kernel", "rb_mMath": "Math", "rb_mProcess": "Process",
	"rb_mWaitReadable": "IO::WaitReadable", "rb_mWaitWritable": "IO::WaitWritable",
	"rb_eException": "Exception", "rb_eStandardError": "StandardError", "rb_eArgError": "ArgumentError",
	"rb_eEOFError": "EOFError", "rb_eEncCompatError": "Encoding::CompatibilityError", "rb_eEncodingError": "EncodingError",
	"rb_eFatal": "fatal", "rb_eFloatDomainError": "FloatDomainError", "rb_eFrozenError": "FrozenError",
	"rb_eIOError": "IOError", "rb_eIndexError": "IndexError", "rb_eInterrupt": "Interrupt", "rb_eKeyError": "KeyError",
	"rb_eLoadError": "LoadError", "rb_eLocalJumpError": "LocalJumpError", "rb_eMathDomainError": "Math::DomainError",
	"rb_eNameError": "NameError", "rb_eNoMatchingPatternError": "NoMatchingPatternError",
	"rb_eNoMatchingPatternKeyError": "NoMatchingPatternKeyError", "rb_eNoMemError": "NoMemoryError",
	"rb_eNoMethodError": "NoMethodError", "rb_eNotImpError": "NotImplementedError", "rb_eRangeError": "RangeError",
	"rb_eRegexpError": "RegexpError", "rb_eRuntimeError": "RuntimeError", "rb_eScriptError": "ScriptError",
	"rb_eSecurityError": "SecurityError", "rb_eSignal": "SignalException", "rb_eStopIteration": "StopIteration",
	"rb_eSyntaxError": "SyntaxError", "rb_eSysStackError": "SystemStackError", "rb_eSystemCallError": "SystemCallError",
	"rb_eSystemExit": "SystemExit", "rb_eThreadError": "ThreadError", "rb_eTypeError": "TypeError",
	"rb_eZeroDivError": "ZeroDivisionError",
}
