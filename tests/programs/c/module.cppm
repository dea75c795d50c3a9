// A C++20 module that exports functions with sites: in line, templates, and members.

module;
#include <invar.h>
export module mylib;

static void probe(invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_wide, probe);
static void number(invar_verdict *verdict) { verdict->data = 1000; }
INVAR_CONSTANT(c_number, uint32_t, number);
static int chosen(int x) { return x + 10000; }
static int otherwise(int x) { return x; }
INVAR_POINTER(int, c_pointer, (int), c_wide, chosen, otherwise);

export inline int in_line(int x)
{
	invar_slice_enter();
	x = invar_branch(c_wide) ? x + 1 : x - 1;
	invar_slice_leave();
	return x;
}

export template <typename T> T in_template(T x)
{
	invar_slice_enter();
	x = invar_branch(c_wide) ? x + 10 : x - 10;
	invar_slice_leave();
	return x + invar_value(c_wide);
}

export struct Member {
	int late(int x) { return invar_branch_is(c_wide, 1) ? x + 100 : x - 100; }
};

export inline int in_numbers(int x)
{
	return x + int(INVAR_VALUE(c_number)) + (invar_branch_at_least(c_wide, 1) ? 0 : 1) + invar_select(c_wide, 2);
}

export inline int by_pointer(int x) { return c_pointer(x); }
