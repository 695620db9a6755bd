#include "egress/sandbox.h"

#include <gtest/gtest.h>
