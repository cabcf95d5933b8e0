"""The demo: a real pretrained CNN on real photographs, all of them carried by packages."""
