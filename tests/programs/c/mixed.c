/* Sites in C, in a program whose runtime and other sites are Rust's. */
#include <invar.h>

static void probe_mixed(struct invar_verdict *verdict)
{
	verdict->value = 1;
}
INVAR_KEY(mixed_c, probe_mixed);

int mixed_sites(int x);
int mixed_sites(int x)
{
	if (invar_branch(mixed_c))
		x *= 3;
	return invar_branch(mixed_c) ? x + 1 : x - 1;
}
