/* Another object file that uses a pointer. */

#include <invar.h>

INVAR_EXTERN_POINTER(int, one, (const char *text));

int elsewhere(const char *text);
int elsewhere(const char *text)
{
	return one(text);
}
