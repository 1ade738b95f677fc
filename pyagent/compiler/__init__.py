"""The policy compiler: a node's view becomes an image that the kernel's program only looks up."""

from pyagent.compiler.compile import Compiler, compile_image
from pyagent.compiler.image import Image
from pyagent.compiler.walk import Walked, Walker, l4_index, walk

__all__ = ["Compiler", "Image", "Walked", "Walker", "compile_image", "l4_index", "walk"]
