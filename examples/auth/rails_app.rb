# Rails tells wsloop who a browser belongs to. Of Rails it needs ruby-railties, and puma.
#
# This is an example: whoever says that they are john is john, without a password.

require "action_controller/railtie"

class RailsApp < Rails::Application
  config.load_defaults Rails::VERSION::STRING.to_f
  config.root = __dir__
  config.eager_load = false
  config.logger = ActiveSupport::Logger.new($stderr, level: :warn)
  config.secret_key_base = ENV.fetch("SECRET_KEY_BASE") { SecureRandom.hex(64) }
  config.session_store :cookie_store, key: "_rails_app_session"

  routes.append do
    root "sessions#page"
    post "login", to: "sessions#login"
    post "logout", to: "sessions#logout"
    get "wsloop-auth", to: "wsloop#auth"
  end
end

RailsApp.initialize!

class SessionsController < ActionController::Base
  # The page is a file, so its forms have no token.
  skip_forgery_protection

  def page
    send_file Rails.root.join("page.html"), type: "text/html", disposition: "inline"
  end

  def login
    reset_session
    session[:user] = params.require(:user).to_s
    redirect_to "/", status: :see_other
  end

  def logout
    reset_session
    redirect_to "/", status: :see_other
  end
end

# What wsloop asks. Keep it from the public, and from a before_action that redirects to a login page.
class WsloopController < ActionController::Base
  GROUPS = { "john" => ["chatusers"] }.freeze
  BANNED = ["banned"].freeze

  def auth
    user = session[:user] or return head :ok
    return render plain: "You are banned.", status: :forbidden if BANNED.include?(user)

    groups = GROUPS.fetch(user, [])
    unless [user, *groups].all? { |name| name?(name) }
      return render plain: "This name cannot be used.", status: :forbidden
    end

    response.set_header("X-Wsloop-User-Encoded", encoded(user))
    response.set_header("X-Wsloop-Groups-Encoded", groups.map { |name| encoded(name) }.join(","))
    response.set_header("X-Wsloop-Session", session.id.public_id)
    head :ok
  end

  private

  # What has blanks around it or control characters is no name for wsloop.
  def name?(name)
    !name.match?(/\A[[:space:]]|[[:space:]]\z|[[:cntrl:]]/)
  end

  def encoded(name)
    ERB::Util.url_encode(name)
  end
end
