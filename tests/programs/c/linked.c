/* Whether libinvar is there, though nothing but a key refers to it. */
#include <invar.h>
#include <stdio.h>

static void probe_here(struct invar_verdict *verdict)
{
	verdict->value = 1;
}
INVAR_KEY(linked_here, probe_here);

int main(void)
{
	printf("%d %s\n", invar_branch(linked_here), invar_load ? "with" : "without");
	return 0;
}
