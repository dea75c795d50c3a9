/* Sections of which some are granted time, and some lost: the program does to its area what the kernel would do. Says what libinvar
 * counted of them. */
#include <invar.h>
#include <stdio.h>

/* The two bytes of the calling thread's area (Linux, include/uapi/linux/rseq.h: slice_ctrl). */
static void kernel_writes(unsigned char request, unsigned char granted)
{
	intptr_t area = (int32_t)invar_slice.data;

	__asm__ volatile("movb %b1, %%fs:28(%0)\n\tmovb %b2, %%fs:29(%0)" : : "r"(area), "q"(request), "q"(granted) : "memory");
}

static void sections(int number, int lost, int granted)
{
	while (number--) {
		invar_slice_enter();
		if (lost)
			kernel_writes(0, granted);
		invar_slice_leave();
		kernel_writes(0, 0);
	}
}

int main(void)
{
	struct invar_counts counts = { .size = sizeof counts };

	sections(2, 0, 0);
	sections(3, 1, 1);
	sections(4, 1, 0);
	printf("counted\t%s\n", invar_strerror(invar_slice_counts(&counts)));
	printf("counts\t%lu requests, %lu grants, %lu yields, %lu lost\n", (unsigned long)counts.requests,
	       (unsigned long)counts.grants, (unsigned long)counts.yields, (unsigned long)counts.lost);
	return 0;
}
