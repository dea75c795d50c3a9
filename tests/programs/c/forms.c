/* The binder's forms, as a library: what it would compare a site with, and what it would write. 0 if there are none. */
#include "binder.c"

int binder_forms(const struct site_record *record, uint8_t value, uint32_t request, code *checked, code *bound)
{
	return forms(record, value, request, checked, bound);
}
