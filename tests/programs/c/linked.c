/* Whether libinvar is there, though nothing but a key refers to it; with an argument, after a call of each of its functions. */
#include <invar.h>
#include <stdio.h>

static void probe_here(struct invar_verdict *verdict)
{
	verdict->value = 1;
}
INVAR_KEY(linked_here, probe_here);

static void look(const struct invar_thread *thread, void *argument)
{
	*(int *)argument += thread->area == INVAR_OK;
}

static void call_all(void)
{
	struct invar_counts counts = { sizeof counts, 0, 0, 0, 0 };
	int areas = 0;

	invar_slice_enrol();
	invar_slice_enrol_contended();
	invar_slice_enter();
	invar_slice_leave();
	invar_slice_counts(&counts);
	invar_slice_audit(look, &areas);
	invar_report(2);
	invar_slice_guard();
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1 && invar_load)
		call_all();
	printf("%d %s\n", invar_branch(linked_here), invar_load ? "with" : "without");
	return 0;
}
