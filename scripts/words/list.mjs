/** Words that mean one thing here and another to a reader who comes from Xen, with the word that the field has for it. */

/** Without leave, left, look, mark, take and whose: the glossary replaces some uses of them, and most uses are ordinary English. */
export const WORDS = [
  { not: /\b(?:life|lives)\b/gi, say: 'process, instance; the previous process' },
  { not: /\b(?:let|lets|letting) go\b/gi, say: 'detach, release, unmap' },
  { not: /\b(?:go|goes|going|went|gone) on\b/gi, say: 'continue, resume' },
  { not: /\b(?:kept|held)\b/gi, say: 'pending (frames); stored, retained, mapped (all else)' },
  { not: /\blog that says\b/gi, say: 'journal' },
  { not: /\bredone\b/gi, say: 'replayed' },
  { not: /\b(?:is|are|was|were|be|been|being) (?:said|told)\b|\bsays? so\b/gi, say: 'report, log' },
  { not: /\banswer(?:s|ed|ing)?\b/gi, say: 'respond, response' },
  { not: /\bleaving\b/gi, say: 'pending removal (of a grant)' },
  { not: /\bsight\b/gi, say: 'snapshot' },
  { not: /\btakers?\b/gi, say: 'guest capabilities' },
];
