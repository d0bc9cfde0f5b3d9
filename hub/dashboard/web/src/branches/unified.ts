/** A unified diff as lines with their numbers. */

export interface DiffLine { kind: 'same' | 'added' | 'removed' | 'hunk'; old?: number; new?: number; text: string }

const HUNK = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)$/

export function parseUnified(text: string): { lines: DiffLine[]; added: number; removed: number } {
  const lines: DiffLine[] = []
  let [before, after, added, removed, inHunk] = [0, 0, 0, 0, false]
  for (const line of text.replace(/\n$/, '').split('\n')) {
    const hunk = HUNK.exec(line)
    if (hunk) {
      inHunk = true
      before = Number(hunk[1])
      after = Number(hunk[2])
      lines.push({ kind: 'hunk', text: hunk[3]?.trim() ?? '' })
    } else if (!inHunk || line.startsWith('\\')) {
      continue // file names, and "no newline at end of file"
    } else if (line.startsWith('+')) {
      lines.push({ kind: 'added', new: after++, text: line.slice(1) })
      added++
    } else if (line.startsWith('-')) {
      lines.push({ kind: 'removed', old: before++, text: line.slice(1) })
      removed++
    } else {
      lines.push({ kind: 'same', old: before++, new: after++, text: line.slice(1) })
    }
  }
  return { lines, added, removed }
}
