// The second.

#include "shared.h"

long elsewhere(int x) { return all(x); }
