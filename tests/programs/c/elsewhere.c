/* A second object file, with a key of its own and one of the first. */

#include <invar.h>

static void probe_near(struct invar_verdict *verdict)
{
	verdict->value = 1;
}
INVAR_KEY(c_near, probe_near);
INVAR_EXTERN_KEY(c_wide);

#ifdef __cplusplus
extern "C"
#endif
int elsewhere(void)
{
	invar_slice_enter();
	invar_slice_leave();
	return invar_branch(c_near) * 2 + invar_branch(c_wide);
}
