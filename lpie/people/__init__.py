"""What people say of photographs: pages on which they rate and choose."""

from lpie.extras import require

require("photos")
