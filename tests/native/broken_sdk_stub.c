/* A library of the SDK's name that is not it: for the tests of what is said then. */
void aws_nitro_enclaves_library_init(void *allocator);
void aws_nitro_enclaves_library_init(void *allocator) { (void)allocator; }
