"""Pure maths: tensors and floats in, tensors or a frozen result out. Nothing here reads a config, a file or global RNG.

Shape key of every file: B batch, T tokens, N rows (any flattened set), V vocabulary, D hidden size, G groups (prompts),
K ranked answers of one prompt, P pairs. Losses come back unreduced; masks are True where a token counts.
"""
