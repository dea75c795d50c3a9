/* A key and sites by libinvar's header, in a module that has a runtime of its own. */

#include <invar.h>

static void probe_beside(struct invar_verdict *verdict) { verdict->value = 1; }
INVAR_KEY(c_beside, probe_beside);

int beside(int x)
{
	invar_slice_enter();
	x += invar_branch(c_beside);
	invar_slice_leave();
	return x;
}
