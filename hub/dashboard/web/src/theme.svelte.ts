/** Dark or light: the system's, until somebody chooses. */

const preferred = matchMedia('(prefers-color-scheme: dark)')

class Theme {
  private chosen = $state(document.documentElement.dataset.theme ?? '')
  private system = $state(preferred.matches ? 'dark' : 'light')

  constructor() {
    preferred.addEventListener('change', () => (this.system = preferred.matches ? 'dark' : 'light'))
  }

  get name(): string {
    return this.chosen || this.system
  }

  toggle(): void {
    const next = this.name === 'dark' ? 'light' : 'dark'
    // Choosing what the system says anyway is following it again.
    this.chosen = next === this.system ? '' : next
    if (this.chosen) {
      document.documentElement.dataset.theme = this.chosen
      localStorage.setItem('boxhub-theme', this.chosen)
    } else {
      delete document.documentElement.dataset.theme
      localStorage.removeItem('boxhub-theme')
    }
  }
}

export const theme = new Theme()
