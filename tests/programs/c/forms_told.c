/* The binder's forms of the records that it is told, a line each: where the record is, and what each form's bytes are; or only that, if there
 * are none. */
#include "binder.c"
#include <inttypes.h>
#include <stdio.h>

static void tell(const code *form, unsigned length)
{
	unsigned at;

	putchar(' ');
	for (at = 0; at < length; at++)
		printf("%02x", ((const uint8_t *)form)[at]);
}

int main(void)
{
	static struct site_record record;
	code checked, bound;
	uint8_t value;
	uint32_t request;

	while (scanf("%" SCNd32 " %" SCNd32 " %" SCNd32 " %" SCNu8 " %" SCNu8 " %" SCNu8 " %" SCNu8 " %" SCNu32, &record.site, &record.target,
		     &record.state, &record.length, &record.kind, &record.value, &value, &request) == 8) {
		printf("%" PRIuPTR, (uintptr_t)&record);
		if (forms(&record, value, request, &checked, &bound)) {
			tell(&checked, record.length);
			tell(&bound, record.length);
		}
		putchar('\n');
	}
	return 0;
}
