// A C extension, with the functions of Ruby's that it uses.
typedef unsigned long VALUE;
typedef VALUE (*function)();
extern VALUE rb_cObject, rb_cIO, rb_mKernel, rb_eStandardError;
VALUE rb_define_class(const char *, VALUE);
VALUE rb_define_module(const char *);
VALUE rb_define_class_under(VALUE, const char *, VALUE);
VALUE rb_define_class_id_under(VALUE, VALUE, VALUE);
VALUE rb_singleton_class(VALUE);
VALUE rb_intern(const char *);
VALUE rb_obj_alloc(VALUE);
VALUE rb_obj_id(VALUE);
VALUE rb_obj_freeze(VALUE);
VALUE rb_path2class(const char *);
void rb_define_const(VALUE, const char *, VALUE);
void rb_define_method(VALUE, const char *, function, int);
void rb_define_private_method(VALUE, const char *, function, int);
void rb_define_singleton_method(VALUE, const char *, function, int);
void rb_define_module_function(VALUE, const char *, function, int);
void rb_define_global_function(const char *, function, int);
void rb_define_alias(VALUE, const char *, const char *);
extern int choice(void);

static VALUE outer, inner, twice, object;
function chosen;

static VALUE plain(VALUE self) { return self + 1; }

__attribute__((noinline)) static VALUE helper(VALUE self) { return choice() ? self : self * 3; }
static VALUE tail(VALUE self) { return helper(self + 2); }
static VALUE foreign(VALUE self) { return rb_obj_id(self + 3); }
static VALUE blind(VALUE self) { return chosen(self); }

__attribute__((cold)) VALUE rare(VALUE);
static VALUE cold(VALUE self) {
	if (self == 77)
		return rare(self) + rare(self + 1) + 5;
	return choice() + self;
}

static VALUE table(VALUE self) {
	switch (self) {
	case 0: return choice() + rb_obj_id(3);
	case 1: return choice() * 5;
	case 2: return rb_obj_id(7) - choice();
	case 3: return rb_obj_id(8) / (choice() | 1);
	case 4: return choice() ^ rb_obj_id(1);
	case 5: return rb_obj_id(2) * 9;
	case 6: return choice() + 6;
	case 7: return choice() * choice();
	case 8: return choice() - rb_obj_id(6);
	}
	return 0;
}

static VALUE other(VALUE self) { return self + 9; }

static void *place[5];
__attribute__((noinline, noreturn)) static void back(void) { __builtin_longjmp(place, 1); }
int goes_on(void) {
	if (__builtin_setjmp(place))
		return choice();
	if (choice())
		back();
	return 1;
}

// The later part is first in the file: it uses what the other one stores.
__attribute__((noinline)) void Init_later(void) {
	rb_define_method(inner, "later", plain, 0);
	rb_define_method(twice, "not told", plain, 0);
	rb_define_method(choice() ? outer : inner, "not told", plain, 0);
	rb_define_method(choice() ? rb_cIO : rb_cIO, "told", plain, 0);
}

void Init_extension(void) {
	outer = rb_define_class("Outer", rb_cObject);
	inner = rb_define_class_under(outer, "Inner", rb_cIO);
	rb_define_method(outer, "plain", plain, 0);
	if (choice()) // both ways to what follows know the same
		rb_define_private_method(outer, "cold", cold, 0);
	rb_define_method(inner, "tail", tail, 0);
	rb_define_method(inner, "foreign", foreign, 0);
	rb_define_singleton_method(inner, "table", table, 0);
	rb_define_method(rb_singleton_class(inner), "blind", blind, 0);
	rb_define_alias(outer, "same", "plain");
	rb_define_alias(outer, "not told", "of the class above");
	rb_define_global_function("global", other, 0);
	rb_define_method(rb_eStandardError, "error", other, 0);
	rb_define_module_function(rb_define_module("Mod"), "both", other, 0);
	rb_define_method(rb_define_class_id_under(rb_define_module("Mod"), rb_intern("ByID"), rb_cObject), "id", other, 0);
	rb_define_method(rb_path2class("A::B"), "path", other, 0);
	object = rb_obj_alloc(rb_cObject);
	rb_define_singleton_method(object, "of object", other, 0);
	rb_define_const(outer, "THING", object);
	rb_define_singleton_method(rb_obj_alloc(rb_cObject), "not told", other, 0);
	twice = choice() ? rb_define_class("One", rb_cObject) : rb_define_class("Two", rb_cObject);
	rb_define_method(outer, "not told", chosen, 0);
	rb_define_method(outer, "not told", rb_obj_freeze, 0);
	Init_later();
}
