/* A spin lock whose holder asks for the time to finish, and a key of the program's own. */
#include <invar.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static void probe_chatty(struct invar_verdict *verdict) { verdict->value = getenv("CHATTY") != NULL; }
INVAR_KEY(chatty, probe_chatty);

int main(void) {
	static atomic_flag lock = ATOMIC_FLAG_INIT;
	long count = 0;
	while (count < 1000) {
		invar_slice_enter();
		while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {}
		count++;
		atomic_flag_clear_explicit(&lock, memory_order_release);
		invar_slice_leave();
	}
	return printf("%s%ld\n", invar_branch(chatty) ? "done\n" : "", count) < 0;
}
