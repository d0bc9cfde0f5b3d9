/** The address: `#/tasks/task-1?q=ocr&state=failed`. Every view, selection and filter can be linked. */

export const VIEWS = ['overview', 'boxes', 'tasks', 'traffic', 'branches', 'conversations', 'deadletters'] as const
export type View = (typeof VIEWS)[number]

class Route {
  view = $state<View>('overview')
  id = $state('')
  params = $state.raw<Record<string, string>>({})

  constructor() {
    this.read()
    addEventListener('hashchange', () => this.read())
  }

  private read(): void {
    Object.assign(this, parse(location.hash))
  }

  /** Select in place: the filter stays, the back button is not filled with every click. */
  select(id: string): void {
    if (parse(location.hash).view !== this.view) return // on its way to another view already
    history.replaceState(null, '', href(this.view, id, this.params))
    this.read()
  }

  set(name: string, value: string): void {
    const params = { ...this.params, [name]: value }
    history.replaceState(null, '', href(this.view, this.id, params))
    this.read()
  }
}

function parse(hash: string): { view: View; id: string; params: Record<string, string> } {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?')
  const [view = '', id = ''] = path.split('/')
  return {
    view: (VIEWS as readonly string[]).includes(view) ? (view as View) : 'overview',
    id: decodeURIComponent(id),
    params: Object.fromEntries(new URLSearchParams(query)),
  }
}

export function href(view: View, id = '', params: Record<string, string> = {}): string {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value)).toString()
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ''}${query ? `?${query}` : ''}`
}

export const route = new Route()
