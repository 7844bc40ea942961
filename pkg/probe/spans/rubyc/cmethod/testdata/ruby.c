// What extension.c needs, for a program that has Ruby in it.
typedef unsigned long VALUE;
VALUE rb_cObject, rb_cIO, rb_mKernel, rb_eStandardError;
volatile VALUE any;
#define VALUE_FUNCTION(name) VALUE name(void) { return any; }
#define FUNCTION(name) void name(void) { any = __LINE__; }
VALUE_FUNCTION(rb_define_class)
VALUE_FUNCTION(rb_define_module)
VALUE_FUNCTION(rb_define_class_under)
VALUE_FUNCTION(rb_define_class_id_under)
VALUE_FUNCTION(rb_singleton_class)
VALUE_FUNCTION(rb_intern)
VALUE_FUNCTION(rb_obj_alloc)
VALUE_FUNCTION(rb_obj_id)
VALUE_FUNCTION(rb_obj_freeze)
VALUE_FUNCTION(rb_path2class)
VALUE_FUNCTION(choice)
VALUE_FUNCTION(rare)
FUNCTION(rb_define_const)
FUNCTION(rb_define_method)
FUNCTION(rb_define_private_method)
FUNCTION(rb_define_singleton_method)
FUNCTION(rb_define_module_function)
FUNCTION(rb_define_global_function)
FUNCTION(rb_define_alias)
void Init_extension(void);
int main(void) { Init_extension(); }
