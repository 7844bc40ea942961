/* Fires a probe at each of its 600 sites. */
__asm__(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
	"_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"
	".popsection\n");

int main(void)
{
	__asm__ volatile(".rept 600\n"
			 "990: nop\n"
			 ".pushsection .note.stapsdt,\"\",\"note\"\n"
			 ".balign 4\n"
			 ".4byte 992f-991f, 994f-993f, 3\n"
			 "991: .asciz \"stapsdt\"\n"
			 "992: .balign 4\n"
			 "993: .8byte 990b, _.stapsdt.base, 0\n"
			 ".asciz \"own\"\n.asciz \"enter\"\n.asciz \"8@%0\"\n"
			 "994: .balign 4\n"
			 ".popsection\n"
			 ".endr\n" ::"r"("name"));
	return 0;
}
