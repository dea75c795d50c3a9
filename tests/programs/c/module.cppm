// A C++20 module that exports functions with sites: in line, templates, and members.

module;
#include <invar.h>
export module mylib;

static void probe(invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_wide, probe);

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
