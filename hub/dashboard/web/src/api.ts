/** The hub's REST interface: questions the feed does not answer, and everything that changes something. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message)
  }
}

const DEADLINE_MS = 15_000

async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  let answer: Response
  try {
    answer = await fetch(new URL(`api/v1/${path}`, document.baseURI), {
      method,
      signal: AbortSignal.timeout(DEADLINE_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
    })
  } catch {
    throw new ApiError(0, 'unavailable', 'The hub did not answer. It may be restarting; try again.')
  }
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => ({}))) as { error?: { code: string; message: string; details?: Record<string, unknown> } }
    const error = problem.error
    throw new ApiError(answer.status, error?.code ?? 'internal', error?.message ?? `The hub answered ${answer.status}.`, error?.details)
  }
  return (await answer.json()) as T
}

export const get = <T>(path: string): Promise<T> => ask<T>('GET', path)
export const post = <T>(path: string, body: unknown = {}): Promise<T> => ask<T>('POST', path, body)

export function says(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
